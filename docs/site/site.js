// Name the regions that the theme leaves without a name, and let the keyboard reach wide code
function label() {
  document.querySelector(".md-search[role=dialog]")?.setAttribute("aria-label", "Search");
  document.querySelectorAll(".md-code__nav").forEach((nav, i) => nav.setAttribute("aria-label", `Code ${i + 1}`));
  document.querySelectorAll("pre > code").forEach((code) => code.setAttribute("tabindex", "0"));
}
new MutationObserver(label).observe(document.body, { childList: true, subtree: true });
label();
