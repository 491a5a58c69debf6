"""Binary addition draws its examples while it trains: a dataset with nothing in it."""

from benchopt import BaseDataset


class Dataset(BaseDataset):
    name = "binary addition"

    def get_data(self):
        return {"seed": 0}
