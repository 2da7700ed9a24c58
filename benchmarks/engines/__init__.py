"""Claims on real servers, beside what one bare transition of the same client costs there, and beside their own locks."""
