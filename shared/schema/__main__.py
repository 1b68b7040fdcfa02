"""`python -m shared.schema`: write workload.json anew. A test fails while it is stale."""

from shared.schema import FILE, schema_text

if __name__ == "__main__":
    FILE.write_text(schema_text(), encoding="utf-8")
