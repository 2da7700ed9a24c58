"""What every call on a file begins with: its name as bytes, and how it is opened."""
