# To be sourced at the top of the repository, after toolchain.sh: what a cross build of the triples
# in `triples` needs in its environment.
toolchain=$PWD/target/cross-toolchain
cargo_home=${CARGO_HOME:-$HOME/.cargo}

# The nightly features of cargo and rustc: for the standard library from source.
export RUSTC="$toolchain/bin/rustc" RUSTC_BOOTSTRAP=1 PATH="$toolchain/venv/bin:$PATH"
# On 32-bit musl, time_t of the libc crate has 4 bytes otherwise, and ends in 2038.
export RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1
# The commit's time, where there is a commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
# Whatever the user sets for builds of their own.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET RUSTC_WRAPPER CFLAGS TARGET_CFLAGS

# Tables of how to unwind are no good to programs that abort, and lie in memory.
rust_flags="-Clink-self-contained=no -Cforce-unwind-tables=no"
c_flags=-fno-asynchronous-unwind-tables
for pair in "$PWD=/src" "$cargo_home=/cargo" "$toolchain/root/usr=/toolchain"; do
    rust_flags="$rust_flags --remap-path-prefix=$pair"
    c_flags="$c_flags -ffile-prefix-map=$pair"
done
for triple in "${triples[@]}"; do
    name=${triple//-/_}
    export "CARGO_TARGET_${name^^}_RUSTFLAGS=$rust_flags" "CFLAGS_$name=$c_flags"
done
