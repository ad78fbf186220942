"""Block lists: their text (`parse`), the compiled image (`compile`, `image`), all without touching files or clocks."""
