#!/usr/bin/env bash
# Runs the workflows on two small slides that it makes: workflows/test.sh [snakemake] [nextflow]
#
# Without an argument it runs those that are installed. Needs napari-sprout on the PATH, with
# its extra 'slides'. Takes a few minutes on two processors.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$(dirname "$(command -v napari-sprout)")/python}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

fail() {
    # What the workflow said, latest last.
    tail -n 40 -- *.log >&2 2>/dev/null || true
    echo "FAILED: $*" >&2
    exit 1
}

# A space in the names, two formats, and one that is no slide.
make_slides() {
    mkdir -p "$place/my slides"
    "$python" - "$place/my slides" <<'END'
import sys
from pathlib import Path

from napari_sprout.io.slides.generator import write_synthetic_slide

folder = Path(sys.argv[1])
shape, share = (1400, 1800), 0.15
write_synthetic_slide(folder / "case 1.ome.tif", shape, tissue_fraction=share, seed=1, kind="ome")
write_synthetic_slide(folder / "case2.svs", shape, tissue_fraction=share, seed=2, kind="aperio")
END
    echo "A note of no interest." >"$place/my slides/notes.txt"
}

# check FOLDER SLIDE,STATUS...: the table has these slides, and the report exists.
check() {
    local folder=$1 name
    shift
    [ -s "$folder/cohort.html" ] || fail "there is no report in $folder"
    diff <(printf '%s\n' "$@") <(tail -n +2 "$folder/cohort.csv" | cut -d, -f1,2) ||
        fail "the table in $folder holds other slides"
    for name in "case 1" case2; do
        [ -e "$folder/$name.slide/labels.ome.zarr" ] || fail "'$name' has no labels"
    done
}

digests() {
    (cd "$1" && sha256sum ./*.slide/nuclei.csv)
}

# test_workflow NAME COMMAND...: COMMAND runs the workflow in the present folder.
test_workflow() {
    local name=$1
    shift
    mkdir "$place/$name"
    cd "$place/$name"

    echo "== $name: a run that is killed goes on, and gives what an undisturbed one gives"
    setsid "$@" >killed.log 2>&1 &
    local run=$!
    for _ in $(seq 600); do
        compgen -G "out put/*.slide/work" >/dev/null && break
        kill -0 "$run" 2>/dev/null || break
        sleep 0.5
    done
    sleep 2
    kill -KILL -- "-$run" 2>/dev/null || true
    wait "$run" 2>/dev/null || true
    [ ! -e "out put/cohort.html" ] || fail "the run was over before it could be killed"
    # What a killed Snakemake leaves locked; of others this is not known.
    if [ "$name" = snakemake ]; then "$@" --unlock >/dev/null 2>&1; fi
    "$@" >run.log 2>&1 || fail "$name"
    check "out put" "case 1,finished" "case2,finished"
    diff <(digests "out put") <(digests "$place/alone") || fail "results differ"

    echo "== $name: nothing is done twice"
    local before
    before=$(stat -c %y "out put/case2.slide/summary.json")
    "$@" >again.log 2>&1 || fail "$name, again"
    [ "$before" = "$(stat -c %y "out put/case2.slide/summary.json")" ] || fail "done twice"

    echo "== $name: a slide that cannot be read is named, and the others go on"
    echo "no slide" >"$place/my slides/broken.svs"
    if "$@" >broken.log 2>&1; then fail "a broken slide passed for a good one"; fi
    check "out put" "broken,absent" "case 1,finished" "case2,finished"
    rm "$place/my slides/broken.svs"
    "$@" >mended.log 2>&1 || fail "$name, mended"
    check "out put" "case 1,finished" "case2,finished"
    cd "$place"
}

run_snakemake() {
    test_workflow snakemake snakemake -s "$here/snakemake/Snakefile" --cores 2 \
        --config "slides=$place/my slides" "results=out put" workers=1 memory=2500 retries=1 \
        "options=--device cpu"
}

run_nextflow() {
    test_workflow nextflow nextflow run "$here/nextflow/main.nf" \
        --slides "$place/my slides" --results "out put" --workers 1 --memory "2 GB" \
        --retries 1 --options "--device cpu"
}

wanted=("$@")
if [ ${#wanted[@]} -eq 0 ]; then
    for tool in snakemake nextflow; do
        if command -v "$tool" >/dev/null; then wanted+=("$tool"); else echo "$tool: not installed"; fi
    done
fi
[ ${#wanted[@]} -gt 0 ] || fail "neither snakemake nor nextflow is installed"

make_slides
for slide in "$place/my slides/"*case*; do
    napari-sprout slide "$slide" -o "$place/alone" --workers 1 --device cpu -q
done
for tool in "${wanted[@]}"; do
    "run_$tool"
done
echo "passed: ${wanted[*]}"
