/* How a page looks: on a screen, light and dark, on a phone, on paper. No scripts, nothing from
 * elsewhere. Colours of series are those of Okabe and Ito 2008, made lighter for dark pages;
 * ordered series take steps of viridis. */
#include "page.h"

/* --c: series; --r: ramp, from the smallest to the largest. */
const char page_colors[] =
    ":root{--ink:#1b1f24;--paper:#fff;--soft:#f4f5f7;--line:#d5d9de;--muted:#59626d;--grid:#e4e7ea;"
    "--warn:#9a3b00;--warnsoft:#fff4ec;--good:#0a5c8f;\n"
    "--c1:#0072b2;--c2:#d55e00;--c3:#008763;--c4:#b4508f;--c5:#9c6a00;--c6:#3a8fc4;--c7:#6b4fa3;"
    "--c8:#5c6570;\n"
    "--r0:#5db53c;--r1:#36a866;--r2:#1f9a7c;--r3:#21858b;--r4:#2a6f8e;--r5:#355b8d;--r6:#424086;"
    "--r7:#440154}\n"
    "@media screen and (prefers-color-scheme:dark){:root{--ink:#e3e6ea;--paper:#14171a;"
    "--soft:#1e2327;--line:#39414a;--muted:#9ba5b0;--grid:#2a3037;--warn:#ffb38a;"
    "--warnsoft:#2e2018;--good:#7cc4f0;\n"
    "--c1:#56b4e9;--c2:#ff8b4d;--c3:#2fc79b;--c4:#e59bc8;--c5:#e6b422;--c6:#9ad0f5;--c7:#b8a1e8;"
    "--c8:#a9b2bc;\n"
    "--r0:#4a7fc1;--r1:#3592a5;--r2:#21a08f;--r3:#22a884;--r4:#44bf70;--r5:#7ad151;--r6:#bddf26;"
    "--r7:#fde725}}\n";

static const char screen[] =
    "*{box-sizing:border-box}\n"
    "html{background:var(--paper);color:var(--ink);color-scheme:light dark;"
    "font:16px/1.5 system-ui,-apple-system,\"Segoe UI\",\"Noto Sans\",\"Liberation "
    "Sans\",sans-serif;"
    "-webkit-text-size-adjust:100%}\n"
    "body{margin:0 auto;max-width:76rem;padding:1.5rem clamp(1rem,4vw,2.5rem) 4rem}\n"
    "h1{font-size:1rem;font-weight:600;color:var(--muted);margin:0 0 "
    ".5rem;overflow-wrap:anywhere}\n"
    "h2{font-size:1.2rem;line-height:1.3;margin:2.6rem 0 .7rem}\n"
    "p{margin:.5rem 0;max-width:46rem}\n"
    ".verdict{font-size:clamp(1.15rem,2.4vw,1.5rem);line-height:1.4;font-weight:500;margin:0 0 "
    "1rem;"
    "max-width:56rem;overflow-wrap:anywhere}\n"
    ".facts{color:var(--muted);font-size:.9rem;margin:0 0 1rem;max-width:none}\n"
    ".warnings{list-style:none;margin:1rem 0;padding:.7rem 1rem;border-left:4px solid var(--warn);"
    "background:var(--warnsoft);border-radius:0 4px 4px 0}\n"
    ".warnings li{margin:.3rem 0;overflow-wrap:anywhere}\n"
    ".warnings b{color:var(--warn)}\n"
    ".pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,28rem),1fr));"
    "gap:1.8rem 2.2rem;margin:1.8rem 0}\n"
    ".pictures .wide{grid-column:1/-1}\n"
    "figure{margin:0;min-width:0}\n"
    "figure h3{font-size:1rem;line-height:1.3;margin:0 0 .1rem}\n"
    "figcaption{color:var(--muted);font-size:.85rem;line-height:1.4;margin-top:.2rem}\n"
    "figure>svg{display:block;width:100%;height:auto;font-family:inherit}\n"
    ".keys{display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.85rem}\n"
    ".keys span{display:inline-flex;align-items:center;gap:.4rem;min-width:0;"
    "overflow-wrap:anywhere}\n"
    ".keys svg{width:1.6rem;height:.7rem;flex:none}\n"
    ".scroll{overflow-x:auto;margin:.5rem 0}\n"
    "table{border-collapse:collapse;font-size:.86rem;line-height:1.35;"
    "font-variant-numeric:tabular-nums}\n"
    "th,td{text-align:left;padding:.32rem .75rem .32rem 0;border-bottom:1px solid var(--line);"
    "vertical-align:top}\n"
    "th{font-weight:600;color:var(--muted);border-bottom-color:var(--muted);vertical-align:bottom}"
    "\n"
    ".n{text-align:right;white-space:nowrap}\n"
    "tr.best td{font-weight:600}\n"
    "tr.bad td{color:var(--muted)}tr.no td:first-child{color:var(--warn);font-weight:600}\n"
    "details{margin:.5rem 0;border-top:1px solid var(--line);padding:.45rem 0}\n"
    "summary{cursor:pointer;font-weight:600;overflow-wrap:anywhere}\n"
    "pre{background:var(--soft);padding:.8rem 1rem;border-radius:4px;overflow-x:auto;"
    "font:.82rem/1.45 ui-monospace,\"DejaVu Sans Mono\",\"Liberation Mono\",monospace;"
    "white-space:pre-wrap;overflow-wrap:anywhere}\n"
    "footer{margin-top:3rem;color:var(--muted);font-size:.85rem}\n"
    "a{color:var(--good)}\n";

static const char paper[] =
    "@media screen and (min-width:60rem){td:first-child{white-space:nowrap}}\n"
    "@page{margin:14mm}\n"
    "@media print{html{font-size:10pt}body{max-width:none;padding:0}p,.verdict{max-width:none}"
    ".pictures{grid-template-columns:1fr 1fr;gap:1rem 1.4rem}"
    "figure,tr,.warnings{break-inside:avoid}h2{break-after:avoid}"
    ".scroll{overflow:visible}table{font-size:7.5pt}td,th{padding-right:.5rem}"
    ".n{white-space:normal}pre{font-size:7.5pt}.long{display:none}"
    "details::details-content{content-visibility:visible;block-size:auto;display:block}"
    "summary{list-style:none}a{color:inherit;text-decoration:none}}\n";

void page_begin(Page *page, const char *title)
{
    page_add(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                   "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                   "<link rel=\"icon\" href=\"data:,\">\n<title>");
    page_text(page, title);
    page_add(page, "</title>\n<style>\n%s%s%s</style>\n</head>\n<body>\n<main>\n", page_colors,
             screen, paper);
}

void page_end(Page *page)
{
    page_add(page, "</main>\n</body>\n</html>\n");
}
