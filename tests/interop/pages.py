"""Looks at pages of `lockstep report` in headless Chromium: pages.py CHROMIUM FOLDER PAGE...

Each page is loaded in frames of a phone's, a tablet's and a screen's width, light and dark, and as
paper. Nothing may stick out of its page or its picture, nothing may come from elsewhere, the
console must stay silent. Screenshots and a PDF go to FOLDER.
"""
import html
import json
import os
import re
import subprocess
import sys
import tempfile

WIDTHS = [360, 768, 1280]
LIGHT, DARK = [], ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]

# Runs in a page around frames: what sticks out of each, and the colour of its paper.
PROBE = """
function look(frame) {
  const page = frame.contentDocument, root = page.documentElement, found = [];
  const width = frame.clientWidth;
  if (root.scrollWidth > width) found.push('page is ' + root.scrollWidth + ' wide');
  for (const e of page.querySelectorAll('main *')) {
    if (e.closest('svg,.scroll,pre') && !e.matches('.scroll,pre,figure>svg')) continue;
    const box = e.getBoundingClientRect();
    if (box.width && box.right > width + 1) found.push(e.tagName + ' ends at ' + box.right);
  }
  for (const svg of page.querySelectorAll('figure>svg')) {
    const frame = svg.getBoundingClientRect();
    if (frame.width < 100) found.push('a picture is ' + frame.width + ' wide');
    for (const e of svg.querySelectorAll('text')) {
      const box = e.getBoundingClientRect();
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 ||
          box.bottom > frame.bottom + 1) found.push('text "' + e.textContent + '" is cut');
    }
  }
  return {width: width, found: found.slice(0, 10), pictures: page.querySelectorAll('figure').length,
          paper: getComputedStyle(root).backgroundColor, ink: getComputedStyle(page.body).color};
}
onload = () => {
  const frames = [...document.querySelectorAll('iframe')];
  document.body.textContent = JSON.stringify(frames.map(look));
};
"""


def chromium(program, arguments, url):
    """Its output; a message on its console is a failure."""
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--user-data-dir=" + profile, "--enable-logging=stderr",
             "--allow-file-access-from-files", *arguments, url],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, text=True, check=True)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    if said:
        sys.exit("console: " + "\n".join(said))
    return done.stdout


def measure(program, page, theme):
    """What the probe sees at each width."""
    with tempfile.TemporaryDirectory() as folder:
        frames = "".join('<iframe src="file://%s" width="%d" height="3000" style="border:0"></iframe>'
                         % (html.escape(page), width) for width in WIDTHS)
        path = os.path.join(folder, "frames.html")
        with open(path, "w", encoding="utf-8") as out:
            out.write("<!DOCTYPE html><body>%s<script>%s</script>" % (frames, PROBE))
        text = chromium(program, ["--dump-dom", "--virtual-time-budget=20000", *theme],
                        "file://" + path)
    return json.loads(html.unescape(re.search(r"<body>(\[.*\])</body>", text, re.S).group(1)))


def brightness(color):
    return sum(int(part) for part in re.findall(r"\d+", color)[:3]) / 3


def check_source(page):
    """Self-contained: no script, nothing that a browser would fetch."""
    with open(page, encoding="utf-8") as source:
        text = source.read()
    for pattern in (r"<script", r"\bsrc=", r"@import", r"url\(", r"<link(?! rel=\"icon\" href=\"data:)",
                    r"href=\"(?!data:|#)"):
        found = re.search(pattern, re.sub(r"<pre>.*?</pre>", "", text, flags=re.S))
        if found:
            sys.exit("%s: not self-contained: %s" % (page, found.group(0)))


def check(program, folder, page):
    name = os.path.join(folder, os.path.basename(os.path.dirname(page)) + "-")
    check_source(page)
    for theme, is_dark in ((LIGHT, False), (DARK, True)):
        for seen in measure(program, page, theme):
            if seen["found"]:
                sys.exit("%s, %d pixels wide: %s" % (page, seen["width"], "; ".join(seen["found"])))
            if (brightness(seen["paper"]) < 128) != is_dark or (brightness(seen["ink"]) > 128) != is_dark:
                sys.exit("%s: %s on %s in %s mode" % (page, seen["ink"], seen["paper"],
                                                      "dark" if is_dark else "light"))
        shot = name + ("dark.png" if is_dark else "light.png")
        chromium(program, ["--screenshot=" + shot, "--window-size=1280,2400", *theme], "file://" + page)
    paper = name + "paper.pdf"
    chromium(program, ["--print-to-pdf=" + paper, "--no-pdf-header-footer"], "file://" + page)
    with open(paper, "rb") as pdf:
        pages = len(re.findall(rb"/Type\s*/Page\b", pdf.read()))
    print("%s: %d pictures, %d sheets of paper" % (page, seen["pictures"], pages))


def main():
    program, folder, *pages = sys.argv[1:]
    for page in pages:
        check(program, folder, os.path.realpath(page))


main()
