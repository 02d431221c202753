"""What long tests counted, as rows of the table in docs/promises.md.

python tests/long/tally.py FOLDER
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

COUNTS: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
SECONDS: Counter[str] = Counter()
for path in sorted(Path(sys.argv[1]).glob("*.json")):
    found = json.loads(path.read_text())
    name, _, of = found["test"].rstrip("]").partition("[")
    COUNTS[name][of] += Counter(found["counts"])
    SECONDS[name] += found["seconds"]

print("| test | made | held | seconds |\n|---|---|---|---|")
for name, parts in COUNTS.items():
    total = sum(parts.values(), Counter())
    print(f"| `{name}` | {total['made']} | {total['held']} | {SECONDS[name]} |")
for name, parts in COUNTS.items():
    print(f"\n{name}")
    for of, counts in parts.items():
        print(f"  {of}: {', '.join(f'{key} {count}' for key, count in counts.items())}")
