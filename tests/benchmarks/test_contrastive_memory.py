"""What a device holds of the similarities of all pairs, by the compiled program."""

from benchmarks import contrastive_memory

BATCH, DIM, ROWS, DEVICES = 512, 4, 64, 8


def test_a_device_holds_its_share_and_with_chunks_a_part_of_it():
    share = BATCH * BATCH // DEVICES
    whole = contrastive_memory.compiled(BATCH, DIM, ROWS, chunks=1, near_clips=2)
    assert contrastive_memory.largest_array(whole) == share
    parts = contrastive_memory.compiled(BATCH, DIM, ROWS, chunks=8, near_clips=2)
    assert contrastive_memory.largest_array(parts) == share // 8 > BATCH * DIM
    sizes = [program.memory_analysis().temp_size_in_bytes for program in (whole, parts)]
    assert sizes[1] < sizes[0] / 3
