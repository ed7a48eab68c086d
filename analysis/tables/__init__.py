"""Tables: layouts define them, `build` computes their numbers, `render` prints them."""
