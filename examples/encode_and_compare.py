"""Which sentence fits which moment of a video, by a trained model.

python examples/encode_and_compare.py runs/kitchen/export VIDEO.mp4 "cut the onion" "stir the sauce"

A .npy of clip features with its contract.json beside it may stand in the place of the video.
"""

import argparse

import videobert_jax


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="an export, or a run's workdir")
    parser.add_argument("video", help="a video file, or a .npy of clip features")
    parser.add_argument("sentences", nargs="+")
    given = parser.parse_args()

    model = videobert_jax.load(given.model)
    texts = model.encode_text(given.sentences)  # [sentences, joint], norm 1
    video = model.encode_video(given.video)  # [1, joint], norm 1
    (found,) = model.localize(given.video, given.sentences, ordered=False)
    print("cosine, with the whole video; best second, with that second's; sentence")
    for number, sentence in enumerate(given.sentences):
        cosine, second, score = (
            texts[number] @ video[0],
            found.seconds[number],
            found.scores[number],
        )
        print(f"{cosine:6.3f} {second:6d} s {score:6.3f}  {sentence}")


if __name__ == "__main__":
    main()
