"""All compiled code: plain arrays in, plain arrays filled, no policy, no exceptions."""
