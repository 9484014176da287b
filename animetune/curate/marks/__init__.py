"""What was put on or around a picture: letterboxes, watermarks, signatures, text."""
