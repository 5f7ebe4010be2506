"""Reads pairs of a schema and a document, one pair a line, and prints what is wrong with the documents."""

import json
import sys

from jsonschema import Draft202012Validator

wrong = 0
for line in sys.stdin:
    schema, document = json.loads(line)
    Draft202012Validator.check_schema(schema)
    for error in Draft202012Validator(schema).iter_errors(document):
        wrong += 1
        print(f"{schema['title']}: {error.json_path}: {error.message[:500]}")
sys.exit(wrong > 0)
