"""People's answers as files: CSV, JSONL and Label Studio JSON, both ways, all through one `Response`."""
