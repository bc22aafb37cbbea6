"""Baseline of tennessee_eastman.npz, class by class.  pip install scikit-learn==1.9.1 (not part of lepton_kit)
usage: python baseline_tennessee.py
A random forest on mean, spread and spread of the differences of each sensor in windows of 20 rows."""
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier


def features(rows, stride):
    windows = np.lib.stride_tricks.sliding_window_view(rows, 20, axis=0)[::stride]
    return np.concatenate([windows.mean(2), windows.std(2), np.diff(windows, axis=2).std(2)], axis=1)


def main():
    data = np.load(Path(__file__).parent / "tennessee_eastman.npz")
    codes = sorted(name[6:] for name in data if name.startswith("train_"))
    onset = int(data["fault_onset_test"])
    train = [features(data[f"train_{code}"], 5) for code in codes]
    model = RandomForestClassifier(200, random_state=0)
    model.fit(np.concatenate(train), np.repeat(codes, [len(one) for one in train]))
    recall = {c: (model.predict(features(data[f"test_{c}"][0 if c == "00" else onset:], 10)) == c).mean() for c in codes}
    print(f"balanced accuracy {np.mean(list(recall.values())):.3f};", ", ".join(f"{c} {r:.2f}" for c, r in recall.items()))


if __name__ == "__main__": main()
