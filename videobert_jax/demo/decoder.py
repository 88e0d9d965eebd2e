"""`python -m videobert_jax.demo.decoder FILE FPS SIDE SQUASHED SECONDS LONGEST`: frames on stdout.

What strangers upload is decoded in a process of its own: a file that brings the decoder down, or
makes it grow, ends this process and not the page. It may write no file, has MEMORY bytes of address
space and SECONDS of processor time, where the system can limit them. SQUASHED 0 means none. Ends
with 2 and a line on stderr where the file is no video, or says that it lasts longer than LONGEST
seconds: none of its frames is decoded then. Who reads counts them, since a file may lie.
"""

import pathlib
import sys

MEMORY = 4 << 30
_ROUNDED = 1.0  # seconds that sound, or a last frame, may stand over the end


def main(path: str, fps: str, side: str, squashed: str, seconds: str, longest: str) -> int:
    """0 when all frames are written."""
    from videobert_jax.video import decode

    _limit(int(seconds))
    try:
        if decode.duration(path) > float(longest) + _ROUNDED:
            raise decode.VideoError(f"the film lasts longer than {longest} s; cut it to that.")
        for frame in decode.read_frames(path, float(fps), int(side), int(squashed) or None):
            sys.stdout.buffer.write(frame.tobytes())
    except decode.VideoError as error:
        print(str(error).replace(path, "the file"), file=sys.stderr)
        return 2
    except BrokenPipeError:  # the page has seen enough
        sys.stdout = None
    return 0


def _limit(seconds: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    for what, limit in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (allowed, allowed))


if __name__ == "__main__":
    # Its directory is of no use as a place to write, and is none to read from.
    sys.argv[1] = str(pathlib.Path(sys.argv[1]).resolve())
    sys.exit(main(*sys.argv[1:]))
