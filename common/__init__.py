"""What no paper claims as its own: data, metrics, runs, results, pictures."""

import os

# torch reads this at its first allocation: large CPU tensors then lie in pages of 2 MB, where Linux has them.
# With pages of 4 KB a third of the time of a small network's step goes into page faults, because a freed
# tensor is handed back to the system and the next one fetched anew. (Telling malloc to keep what is freed is
# as fast, but fragments: an evaluation with blocks of many sizes grew from 1 GB to 22.)
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
