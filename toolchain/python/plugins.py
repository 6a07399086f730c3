"""List the installed packages that Pulumi may have a plugin for, as `pip list -v` would."""

import json
import sys
from pathlib import Path

result = []
for folder in map(Path, sys.path):
    for info in folder.glob("*.dist-info"):
        name, _, version = info.stem.partition("-")
        if name.startswith("pulumi_") or (folder / name / "pulumi-plugin.json").exists():
            hyphens = name.replace("_", "-")  # as the language host knows Pulumi's own
            result.append({"name": hyphens, "version": version, "location": str(folder)})
print(json.dumps(result))
