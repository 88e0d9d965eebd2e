"""The page's style: light and dark, narrow and wide, screen and paper."""

CSS = """
:root{color-scheme:light dark;--paper:#fff;--panel:#f6f8fa;--ink:#1d2733;--muted:#5b6875;
--line:#d8dee5;--own:#2563c9;--base:#9aa7b4;--whisker:#0b1f3f;--right:#1a7f4b;--wrong:#b5301d;
--s0:#2563c9;--s1:#d9742b;--s2:#1a7f4b;--s3:#8a4fbf;--s4:#c2417c;--s5:#7b8794;--s6:#a08a15}
@media (prefers-color-scheme:dark){:root{--paper:#11161c;--panel:#1a212a;--ink:#e6ebf0;
--muted:#9eabb8;--line:#313c48;--own:#6ea8ff;--base:#66737f;--whisker:#e6eefc;--right:#5cc98c;
--wrong:#ff8a75;--s0:#6ea8ff;--s1:#ffab6b;--s2:#5cc98c;--s3:#c29af0;--s4:#ff8fbf;--s5:#9eabb8;
--s6:#e0c853}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:1120px;padding:1.5rem clamp(.8rem,3vw,2rem) 3rem;
background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;
overflow-wrap:break-word}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .3rem}
h2{font-size:1.3rem;margin:2.4rem 0 .6rem;padding-top:.6rem;border-top:2px solid var(--ink)}
h3{font-size:1.08rem;margin:1.8rem 0 .3rem}
h4{font-size:.95rem;margin:1.3rem 0 .4rem}
p{margin:.3rem 0}
a{color:var(--own)}
.muted,figcaption,dt{color:var(--muted)}
.note{border-left:3px solid var(--s1);padding:.1rem 0 .1rem .7rem;margin:.6rem 0}
nav a{display:inline-block;margin:.1rem .9rem .1rem 0}
.scroll{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{padding:.22rem .5rem;text-align:right;border-bottom:1px solid var(--line);
white-space:nowrap;vertical-align:top}
thead th{color:var(--muted);font-weight:600;vertical-align:bottom}
th:first-child,.words td,.words th{text-align:left}
thead th,tbody th{white-space:normal}
tbody th{font-weight:500}
.figures td:nth-child(2){font-weight:700}
.words td{white-space:normal;min-width:5rem}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.82rem;margin:.2rem 0}
.key{display:inline-block;width:1.4rem;border-top:3px solid;margin-right:.35rem;
vertical-align:middle}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:1.2rem}
figure{margin:.6rem 0;min-width:0;break-inside:avoid}
figcaption{font-size:.84rem;margin-bottom:.3rem}
figcaption b{color:var(--ink)}
svg{display:block;width:100%;height:auto;max-width:560px}
svg text{font:12px system-ui,"Noto Sans","DejaVu Sans",sans-serif;fill:var(--ink)}
svg .soft{fill:var(--muted)}
svg .grid{stroke:var(--line);stroke-width:1}
svg path{fill:none;stroke-width:2.2;stroke-linejoin:round}
.bars{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));
gap:.9rem 1.6rem}
.bars .group{min-width:0;break-inside:avoid}
.bars .name{font-size:.86rem;font-weight:600;overflow-wrap:anywhere}
.bar{display:grid;grid-template-columns:8.6rem minmax(3rem,1fr) 3.9rem;gap:.5rem;
align-items:center;font-size:.78rem;line-height:1.35}
.bar .who{color:var(--muted);overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.bar .value{text-align:right;font-variant-numeric:tabular-nums}
.bar.own{font-weight:700}.bar.own .who{color:var(--ink)}
.track{position:relative;height:.62rem;background:var(--panel);border-radius:2px;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
.own .track{height:.95rem}
.fill{position:absolute;inset:0 auto 0 0;background:var(--base);border-radius:2px}
.own .fill{background:var(--own)}
.whisker{position:absolute;top:50%;height:0;border-top:2px solid var(--whisker)}
.whisker:before,.whisker:after{content:"";position:absolute;top:-5px;height:8px;
border-left:2px solid var(--whisker)}
.whisker:after{right:0}
.cases{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));gap:.9rem}
.case{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:.6rem .75rem;
min-width:0;break-inside:avoid;font-size:.87rem}
.case img{display:block;width:100%;height:auto;border-radius:3px;margin:.15rem 0 .3rem}
.case .where{font-size:.78rem;color:var(--muted)}
.case .text{font-weight:600;margin:.1rem 0 .3rem}
.case dl{display:grid;grid-template-columns:auto minmax(0,1fr);gap:.05rem .6rem;margin:.2rem 0}
.case dd{margin:0;overflow-wrap:anywhere}
.right{color:var(--right)}.wrong{color:var(--wrong)}
.right,.wrong{font-weight:600}
details{margin:.7rem 0}
summary{cursor:pointer;color:var(--own)}
details dl{display:grid;grid-template-columns:minmax(7rem,auto) minmax(0,1fr);gap:.2rem 1rem;
font-size:.86rem}
details dd{margin:0;overflow-wrap:anywhere}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.75rem;background:var(--panel);
padding:.7rem;border-radius:6px}
@media (max-width:520px){th,td{padding:.2rem .35rem}tbody th{min-width:7.5rem}
.bar{grid-template-columns:6.6rem minmax(2rem,1fr) 3.6rem}
details dl{grid-template-columns:minmax(0,1fr)}details dd{margin-bottom:.4rem}}
@media print{:root{color-scheme:light;--paper:#fff;--panel:#f3f5f7;--ink:#000;--muted:#444;
--line:#bbb;--own:#2563c9;--base:#9aa7b4;--whisker:#0b1f3f}
body{max-width:none;font-size:11px;padding:0}.scroll{overflow:visible}nav{display:none}
th,td{white-space:normal;padding:.1rem .3rem}h2{break-after:avoid}h3,h4{break-after:avoid}
details:not([open]){display:none}}
"""
