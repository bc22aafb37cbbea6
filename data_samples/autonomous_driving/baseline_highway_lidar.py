"""Baselines of highway_lidar_collision.npz on held-out episodes.  pip install scikit-learn==1.9.1 (not part of lepton_kit)
usage: python baseline_highway_lidar.py
The 72 held-out episodes are those of notebooks/domains/driving_lidar.ipynb."""
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main():
    data = np.load(Path(__file__).parent / "highway_lidar_collision.npz")
    ego, y, episode = data["ego"], data["y"].astype(int), data["episode"]
    x = np.concatenate([data["lidar"].reshape(len(y), -1) / 127.5 - 1, ego], axis=1)
    test = np.isin(episode, np.random.RandomState(0).permutation(np.unique(episode))[:72])
    for name, features, model in (
        ("ego state only, logistic regression", ego, make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))),
        ("random forest, 100 trees", x, RandomForestClassifier(100, random_state=0)),
        ("gradient boosting, 100 rounds", x, HistGradientBoostingClassifier(random_state=0)),
    ):
        model.fit(features[~test], y[~test])
        print(f"{name}: AUC {roc_auc_score(y[test], model.predict_proba(features[test])[:, 1]):.3f}", flush=True)


if __name__ == "__main__": main()
