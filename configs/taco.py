"""TACo's recipe (Yang et al. 2021, arXiv 2108.09980) from scratch on YouCook II.

The paper's R@1 from scratch: 16.1, where one contrastive loss has 13.8 (its YouCook II ablation;
configs/youcook2_from_scratch.py is that one). Begin with BERT-base: --config.init.bert=DIR. The
content words are of `videobert content-words` on the training split. What differs from the paper:

* Twins (the same caption, or neighbouring steps of a video) are no negatives, hard or not.
* 12 text and 6 video layers, 512 dimensions of the joint space, as in youcook2_from_scratch.
* The cascade's softmax is over the right video and four hard negatives; weights of the three
  losses are 1 each, the words' temperature is 0.07. All of these are ours.
"""

import ml_collections

from configs import youcook2_from_scratch


def get_config() -> ml_collections.ConfigDict:
    config = youcook2_from_scratch.get_config()
    config.name = "taco"
    config.data.content_words = "runs/youcook2_words.json"
    config.model.token_head = True
    config.objectives.token_contrastive.weight = 1.0  # nouns and verbs choose their video
    config.objectives.cascade.weight = 1.0  # the cross-modal encoder, among the hardest negatives
    return config
