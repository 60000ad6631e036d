"""An HTTP/1.1 client for byte ranges, strict about what it is answered; it knows no store."""
