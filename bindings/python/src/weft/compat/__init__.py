"""Other libraries' names for weft: aioquic."""
