"""The reading pages: papers and code side by side. Sources in pages/, built by `python -m book`."""
