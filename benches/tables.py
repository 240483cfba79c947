"""Medians, ratios, and Markdown tables."""

import os
import platform
import statistics
import subprocess


def median(reports, key):
    """Returns the median of a figure over the reports that have it and no errors; None without such a report."""
    values = [report[key] for report in reports if report.get(key) is not None and "failed" not in report]
    return statistics.median(values) if values else None


def paired_ratio(reports, base, key):
    """Returns the median of the ratios of each round; None without any ratio."""
    ratios = paired_ratios(reports, base, key)
    return statistics.median(ratios) if ratios else None


def paired_ratios(reports, base, key):
    """Returns the ratio of two figures of each round, in which a slow drift of the machine's speed cancels."""
    both = [(a, b) for a, b in zip(reports, base) if "failed" not in a and "failed" not in b]
    return [a[key] / b[key] for a, b in both if a.get(key) and b.get(key)]


def spread(ratios):
    """Formats the median of ratios, with the smallest and the largest in brackets."""
    if not ratios:
        return "–"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def range_of(reports, key, scale=1):
    """Formats the median of a figure, with the smallest and the largest in brackets."""
    values = [report[key] * scale for report in reports if report.get(key) is not None and "failed" not in report]
    if not values:
        return "–"
    middle, low, high = map(number, (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low}–{high})" if len(values) > 1 else middle


def number(value):
    """Formats a number with about three digits; None as a dash."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(head, rows):
    """Formats a Markdown table whose first column is text and whose others are numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def machine():
    """Describes the machine and its versions of Linux, Rust and Node.js in one line."""
    def first_line(*command):
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            return None

    with open("/proc/cpuinfo") as cpuinfo:
        models = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")]
    node = first_line("node", "--version")
    parts = [f"{os.cpu_count()} cores", models[0] if models else platform.machine(), f"Linux {platform.release()}",
             first_line("rustc", "--version") or "no rustc", f"node {node}" if node else "no node"]
    return ", ".join(parts)
