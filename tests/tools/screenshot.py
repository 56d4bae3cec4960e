"""Makes docs/images/label-studio.png: `python -m tests.tools.screenshot PHOTO`, after `scripts/label-studio ensure`.

The one in the repository shows a photo from Flickr's Commons, of no known copyright restrictions: image 86 of COCO train2017.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.tools.browser import Browser
from tests.tools.candor_site import ROOT, with_models
from tests.tools.label_studio import LabelStudioSite

OUT = ROOT / "docs" / "images" / "label-studio.png"
_SIZE = (1400, 800)
_COLOURS = 255  # in a PNG of under 300 kB
_LABELS = {"person": "#e6194b", "bicycle": "#1e6ee6", "motorcycle": "#f58231", "car": "#3cb44b", "bus": "#911eb4", "truck": "#008080"}


def main(photo: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        candor, site, browser = with_models(Path(folder) / "candor"), LabelStudioSite(Path(folder) / "label-studio"), Browser()
        try:
            candor.start()
            project = site.project(config(), title="Street photos")
            tool = str(Path(sys.executable).with_name("candor"))
            connect = [tool, "label-studio", "connect", "--url", site.url, "--token", site.token, "--server", candor.url]
            subprocess.run([*connect, "--project", str(project)], check=True)
            site.upload(project, [(Path(photo).name, Path(photo).read_bytes())])
            browser.size(*_SIZE)
            browser.sign_in(site)
            browser.goto(f"{site.url}/projects/{project}/data?labeling=1")
            browser.see(".lsf-outliner-item__control_type_score")
            browser.until("[...document.images].some(image => image.src.startsWith('blob:') && image.complete && image.naturalWidth > 0)")
            browser.picture(str(OUT))
        finally:
            browser.close()
            site.remove()
            candor.stop()
    with Image.open(OUT) as taken:
        taken.convert("RGB").quantize(_COLOURS, kmeans=4, dither=Image.Dither.NONE).save(OUT, optimize=True)
    sys.stdout.write(f"{OUT}: {OUT.stat().st_size // 1000} kB\n")


def config() -> str:
    """Return a labeling config whose boxes are easy to see."""
    options = "".join(f'<Label value="{label}" background="{colour}"/>' for label, colour in _LABELS.items())
    box = f'<RectangleLabels name="box" toName="image" strokeWidth="3" opacity="0.15">{options}</RectangleLabels>'
    return f'<View><Image name="image" value="$image"/>{box}</View>'


if __name__ == "__main__":
    main(sys.argv[1])
