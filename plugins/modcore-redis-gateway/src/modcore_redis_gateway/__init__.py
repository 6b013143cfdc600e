"""Redis and Valkey as a gateway of modcore: a room of its own for each of URL, place, connections and scripts."""
