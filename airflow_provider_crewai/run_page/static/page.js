// Keeps the parts with `data-live` up to date, without disturbing a person who reads, types or tabs there.
// The page works without this script. It never makes HTML from a string: the browser parses the whole page again.
"use strict";

const PAUSE = 1000 * (document.documentElement.dataset.every || 2);
const LONGEST_PAUSE = 15000;
const SOON = 200;
let pause = PAUSE;
let timer = 0;
let isLooking = false;
let hasNews = false;

function isInUse(part) {
  const selection = document.getSelection();
  const isSelected = selection && !selection.isCollapsed && selection.containsNode(part, true);
  const active = document.activeElement;
  const isTyped = [...part.querySelectorAll("textarea")].some((area) => area.value !== area.defaultValue);
  return isSelected || isTyped || (part.contains(active) && active.matches("textarea"));
}

function sameIn(fresh, element) {
  return element.id ? fresh.querySelector(`[id="${CSS.escape(element.id)}"]`) : null;
}

function keepOpen(part, fresh) {
  for (const details of part.querySelectorAll("details[open]")) {
    const same = sameIn(fresh, details);
    if (same) same.open = true;
  }
  for (const details of part.querySelectorAll(".tree details:not([open])")) {
    const same = sameIn(fresh, details);
    if (same) same.open = false;
  }
  for (const choice of part.querySelectorAll("input:checked")) {
    const same = sameIn(fresh, choice);
    if (same) same.checked = true;
  }
}

function replace(part, fresh) {
  const focused = part.contains(document.activeElement) && document.activeElement.id;
  const scrolled = [...part.querySelectorAll("[tabindex][id]")].map((box) => [box.id, box.scrollTop]);
  part.replaceWith(fresh);
  for (const [id, top] of scrolled) {
    const box = document.getElementById(id);
    if (box) box.scrollTop = top;
  }
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function renew(next) {
  const parts = [...document.querySelectorAll("[data-live]")];
  const { refresh } = document.documentElement.dataset;
  if (parts.some((part) => !next.getElementById(part.id))) return location.replace(refresh);
  for (const fresh of next.querySelectorAll("[data-live]")) {
    const part = document.getElementById(fresh.id);
    if (!part || isInUse(part)) continue;
    keepOpen(part, fresh);
    if (!part.isEqualNode(fresh)) replace(part, document.adoptNode(fresh));
  }
  if (document.title !== next.title) {
    document.title = next.title;
    document.getElementById("announcement").textContent = next.title;
  }
  document.documentElement.dataset.refresh = next.documentElement.dataset.refresh ?? "";
}

function came(request) {
  document.getElementById("offline").hidden = true;
  pause = PAUSE;
  if (request.status === 401) location.reload();
  else if (request.response && request.status === 200) renew(request.response);
  lookAgain();
}

function failed() {
  document.getElementById("offline").hidden = false;
  pause = Math.min(2 * pause, LONGEST_PAUSE);
  hasNews = false;
  lookAgain();
}

function look() {
  if (document.hidden) return wait(pause);
  isLooking = true;
  hasNews = false;
  const request = new XMLHttpRequest();
  request.open("GET", document.documentElement.dataset.refresh);
  request.responseType = "document";
  request.timeout = LONGEST_PAUSE;
  request.onload = () => came(request);
  request.onerror = request.ontimeout = failed;
  request.send();
}

function lookAgain() {
  isLooking = false;
  wait(hasNews ? SOON : pause);
}

function lookSoon() {
  hasNews = true;
  if (!isLooking) wait(SOON);
}

function wait(milliseconds) {
  clearTimeout(timer);
  if (document.documentElement.dataset.refresh) timer = setTimeout(look, milliseconds);
}

// A stream tells that something has happened. What that is, the page itself shows: so the stream is not read.
let stream = null;

async function listen() {
  const { events, refresh } = document.documentElement.dataset;
  if (!events || !refresh || document.hidden || stream) return;
  const mine = (stream = new AbortController());
  try {
    const response = await fetch(events, { signal: mine.signal });
    const reader = response.status === 200 && response.body.getReader();
    while (reader && !(await reader.read()).done) lookSoon();
  } catch {
    // The looks tell whether the server is gone.
  }
  if (stream === mine) stream = null;
  setTimeout(listen, LONGEST_PAUSE / 5);
}

// A browser opens six connections to a server, for all tabs together. So only a tab that is seen holds one.
document.addEventListener("visibilitychange", () => {
  stream?.abort();
  stream = null;
  if (!document.hidden) {
    listen();
    lookSoon();
  }
});

wait(pause);
listen();
