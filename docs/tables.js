// A table wider than a phone's screen can be scrolled by keyboard.
addEventListener("load", () => document.querySelectorAll(".md-typeset__scrollwrap").forEach((table) => (table.tabIndex = 0)));
