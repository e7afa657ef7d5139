"""Results as JSON, Markdown and plots."""

import json
import os
import subprocess

RESULTS = os.environ.get("STRANDLINE_RESULTS", "")
LOAD = os.environ.get("STRANDLINE_LOAD_BIN", "")


def ratio(ours: float, theirs: float, aim: float | None = None) -> str:
    """`2.3`, in bold where it is short of the aim."""
    value = ours / theirs if theirs else float("inf")
    text = f"{value:.2f}"
    return f"**{text}**" if aim is not None and value < aim else text


def at_most(value: float, aim: float, digits: int = 1) -> str:
    """A number that should not be above its aim: in bold where it is."""
    text = f"{value:.{digits}f}"
    return f"**{text}**" if value > aim else text


def at_least(value: float, aim: float, digits: int = 0) -> str:
    """A number that should not be below its aim: in bold where it is."""
    text = f"{value:.{digits}f}"
    return f"**{text}**" if value < aim else text


def write(name: str, section: dict) -> None:
    """Takes one benchmark's section into the results and writes everything anew."""
    os.makedirs(RESULTS, exist_ok=True)
    for plot in section.get("plots", []):
        description = {key: value for key, value in plot.items() if key != "file"}
        subprocess.run([LOAD, "plot", os.path.join(RESULTS, plot["file"])], input=json.dumps(description), text=True, check=True)
    path = os.path.join(RESULTS, "results.json")
    results = {}
    if os.path.exists(path):
        with open(path) as file:
            results = json.load(file)
    kept = {key: value for key, value in section.items() if key != "plots"}
    kept["plots"] = [{"file": plot["file"], "title": plot["title"]} for plot in section.get("plots", [])]
    results[name] = kept
    with open(path, "w") as file:
        json.dump(results, file, indent=1, sort_keys=True)
        file.write("\n")
    with open(os.path.join(RESULTS, "results.md"), "w") as file:
        file.write(markdown(results))


def markdown(results: dict) -> str:
    lines = ["# Results", "", "Written by `benches/run`; do not edit. What is measured, how, and what it says: [benchmarks](../benchmarks.md).",
             "Numbers in **bold** are short of their aim.", ""]
    for name, section in results.items():
        machine = section["machine"]
        lines += [f"## {name}", "",
                  f"{section['about']}.", "",
                  # Sections of earlier runs have the commit of the tree, whatever was measured.
                  f"{machine['when']}, {machine.get('build') or 'commit ' + machine['commit']}, {'quick' if section['quick'] else 'full'} run of "
                  f"{section['took_s'] / 60:.0f} minutes on {machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, "
                  f"{machine['system']}. Over the run all cores together were {section['busy']:.0%} busy, of which the servers and "
                  f"generators of the benchmark {section['own']:.0%}; {section['stolen']:.0%} were taken by the host.", ""]
        lines += [line for failure in section.get("failures", []) for line in (f"**Failed: {failure}.**", "")]
        for table in section.get("tables", []):
            lines += [f"**{table['title']}**", "", "| " + " | ".join(table["columns"]) + " |", "|" + " --- |" * len(table["columns"])]
            lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in table["rows"]]
            lines.append("")
        lines += [line for note in section.get("notes", []) for line in (note, "")]
        lines += [line for plot in section["plots"] for line in (f"![{plot['title']}]({plot['file']})", "")]
    return "\n".join(lines).rstrip() + "\n"
