"""Programs that nobody here wrote read through us, and find what they find in the plain bytes."""
