"""The same networks, computed faster. Nobody needs to read this to learn how training works."""
