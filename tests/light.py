"""`python tests/light.py FOLDER`: the applications of FOLDER/export in a light installation.

Run where neither what the extra `train` brings nor what only POSIX has can be imported. Prints a
JSON object: what each call of the API gave, and exit code and words of commands.
"""

import contextlib
import io
import json
import os
import pathlib
import select
import signal
import sys

# What the core does not bring, and what flax brings but these do not import.
EXTRAS = (
    "array_record av etils faiss fsspec google h5py huggingface_hub importlib_resources matplotlib "
    "ml_collections onnx orbax PIL tensorboard tensorflow tensorflow_datasets tensorstore "
    "tokenizers torch transformers"
).split()
POSIX = "fcntl grp pwd resource termios".split()
_POSIX_NAMES = {
    os: "O_DIRECTORY fork forkpty getuid killpg posix_fadvise posix_spawn pread readv sysconf",
    select: "poll",
    signal: "SIGHUP SIGKILL SIGUSR1 SIGUSR2 setitimer pthread_sigmask",
}


class Refuse:
    """A finder that finds none of these."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] in (*EXTRAS, *POSIX):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def refuse() -> None:
    for name in [*sys.modules]:
        if name.split(".")[0] in (*EXTRAS, *POSIX):
            del sys.modules[name]
    sys.meta_path.insert(0, Refuse())
    for module, names in _POSIX_NAMES.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)


def calls(folder: pathlib.Path) -> dict[str, object]:
    """What the API gives, in short, of clip features."""
    import numpy as np

    import videobert_jax

    model = videobert_jax.load(folder / "export")
    dim = model.contract.dim
    clips = np.random.default_rng(0).normal(size=(6, dim)).astype(np.float32)
    text, other = "cut the onion", "pour the milk"
    model.save_pretrained(folder / "again")
    again = videobert_jax.PretrainedModel.from_pretrained(folder / "again")
    return {
        "encode_video": model.encode_video(clips).shape,
        "encode_text": model.encode_text([text, other]).shape,
        "saved": again.bundle.digest == model.bundle.digest,
        "similarity": model.similarity(clips, [text, other]).shape,
        "match": model.match(clips, text).shape,
        "caption": model.caption(clips, num_beams=1),
        "answer": model.answer(clips, "what do we cut", choices=[text, other])[0].text,
        "localize": model.localize(clips, [text, other])[0].seconds.shape,
        "fill_mask": [len(told) for told in model.fill_mask("cut the [MASK]", clips, top_k=3)[0]],
        "attention": model.attention(clips, text).text_reads_video.shape[1],
    }


def command(*words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `videobert WORDS`."""
    from videobert_jax.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main.main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, out.getvalue(), err.getvalue()


def main(folder: pathlib.Path) -> None:
    refuse()
    model = f"--checkpoint={folder / 'export'}"
    root = pathlib.Path(__file__).parents[1]
    told = {
        "calls": calls(folder),
        "help": command("--help"),
        "caption": command("caption", str(folder / "clips.npy"), model, "--num-beams=1"),
        "prepare": command("prepare", "kitchen", f"--output={folder / 'set'}"),
        "plan": command("plan", f"--config={root / 'configs' / 'tiny.py'}", "--topology=v5e:2x2"),
        "export": command("export", model, f"--output={folder / 'third'}", "--format=onnx"),
        "modules": sorted({name.split(".")[0] for name in sys.modules}),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
