"""The exam that a backend passes, and the means to explore the protocol: shipped, so that a plug-in can use them too."""
