"""Load profiles: how often every expert of every layer is used."""
