// Name the regions that the theme leaves without a name, and let the keyboard reach wide code and tables
function label() {
  document.querySelector(".md-search[role=dialog]")?.setAttribute("aria-label", "Search");
  document.querySelectorAll(".md-code__nav").forEach((nav, i) => nav.setAttribute("aria-label", `Code ${i + 1}`));
  document.querySelectorAll("pre > code, .md-typeset__scrollwrap").forEach((box) => box.setAttribute("tabindex", "0"));
}
new MutationObserver(label).observe(document.body, { childList: true, subtree: true });
label();
