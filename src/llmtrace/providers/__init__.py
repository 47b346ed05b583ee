"""Wire formats, sans-io: bytes in, parts and events out. Nothing here opens a socket."""
