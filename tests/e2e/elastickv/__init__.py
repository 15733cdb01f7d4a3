"""From Redis to the stand-in of ElasticKV, through the proxy."""
