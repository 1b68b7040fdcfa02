"""Environment variables under which a computation gives the same bytes on whichever machine it runs."""

from __future__ import annotations

# The same inputs give the same bytes whichever machine scores them: one may take over a shard from another.
ARITHMETIC = {
    # One thread in each library: the workers are the parallelism, and sums keep their order.
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
    ),
    # OpenBLAS and numpy choose their kernels by the processor, and those differ in the last bits. AVX2 for all: every
    # x86 size that Azure still sells has it. Names that a processor or a release of numpy does not know are ignored.
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
}
