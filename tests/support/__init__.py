"""What the tests share: servers, a client, a running proxy, comparing two stores."""
