"""What is measured on embeddings, as pure functions: exact, in blocks. Protocols: the docstrings."""

from common.metrics.clustering import nmi
from common.metrics.fewshot import episode_interval
from common.metrics.geometry import gromov_delta
from common.metrics.neighbours import knn_predict
from common.metrics.retrieval import map_and_r_precision, map_at_r, r_precision, recall_at_k, reid_scores

__all__ = [
    "episode_interval",
    "gromov_delta",
    "knn_predict",
    "map_and_r_precision",
    "map_at_r",
    "nmi",
    "r_precision",
    "recall_at_k",
    "reid_scores",
]
