// Keeps an open page up to date: asks for it again, and puts what is marked
// data-live in place of what is there. Everything works without this script.
"use strict";
(() => {
  const every = Number(document.body.dataset.refresh) * 1000;
  const button = document.getElementById("live");
  let held = sessionStorage.getItem("held") === "yes";
  let lost = false;
  let request = null;

  const typing = () => {
    const focus = document.activeElement;
    return focus !== null && focus.matches("input, select, textarea");
  };
  const selecting = () => {
    const selection = getSelection();
    return selection !== null && !selection.isCollapsed;
  };
  const waits = () => held || typing() || selecting();

  const tell = () => {
    button.dataset.state = lost ? "lost" : waits() ? "held" : "live";
    button.textContent = lost ? "no answer" : waits() ? "paused" : "live";
    button.setAttribute("aria-pressed", String(!held));
  };

  // What a reader has done to the page survives: where he is, what he has
  // unfolded, which link has the focus.
  const put = (fresh) => {
    const y = scrollY;
    const focus = document.activeElement;
    for (const old of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(old.id);
      if (next === null || next.outerHTML === old.outerHTML) continue;
      const link = old.contains(focus) ? focus.getAttribute("href") : null;
      for (const open of old.querySelectorAll("details[open]")) {
        const same = next.querySelector("#" + CSS.escape(open.id));
        if (same !== null) same.open = true;
      }
      const x = old.scrollLeft;
      old.replaceWith(document.adoptNode(next));
      next.scrollLeft = x;
      if (link !== null) {
        for (const a of next.querySelectorAll("a[href]")) {
          if (a.getAttribute("href") === link) {
            a.focus({ preventScroll: true });
            break;
          }
        }
      }
    }
    document.title = fresh.title;
    if (scrollY !== y) scrollTo({ top: y, behavior: "instant" });
  };

  const refresh = (always) => {
    if (request !== null) {
      if (!always) return;
      request.abort();
    }
    const asked = new XMLHttpRequest();
    request = asked;
    asked.open("GET", location.href);
    asked.responseType = "document";
    asked.timeout = 10000;
    asked.onloadend = () => {
      if (request !== asked) return;
      request = null;
      lost = asked.response === null;
      if (!lost && (always || !waits())) put(asked.response);
      tell();
    };
    asked.send();
  };

  // On a phone the navigation is wider than the screen.
  const nav = document.getElementById("nav");
  const here = nav.querySelector("[aria-current]");
  if (here !== null) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;

  const filter = document.querySelector("[data-filter]");
  if (filter !== null) {
    let later = 0;
    filter.addEventListener("input", () => {
      clearTimeout(later);
      later = setTimeout(() => {
        history.replaceState(null, "", "?" + new URLSearchParams(new FormData(filter.form)));
        refresh(true);
      }, 200);
    });
  }

  if (every > 0) {
    button.hidden = false;
    button.addEventListener("click", () => {
      held = !held;
      sessionStorage.setItem("held", held ? "yes" : "no");
      if (!held) refresh(true);
      tell();
    });
    for (const event of ["focusin", "focusout", "selectionchange"]) {
      document.addEventListener(event, () => setTimeout(tell));
    }
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && !waits()) refresh(false);
    });
    setInterval(() => {
      if (!document.hidden && !waits()) refresh(false);
    }, every);
    tell();
  }
})();
