// Keeps the parts with `data-live` up to date, without disturbing a person who reads, types or tabs there.
// The page works without this script. It never makes HTML from a string: the browser parses the whole page again.
"use strict";

const PAUSE = 2000;
const LONGEST_PAUSE = 15000;
let pause = PAUSE;

function isInUse(part) {
  const selection = document.getSelection();
  const isSelected = selection && !selection.isCollapsed && selection.containsNode(part, true);
  const active = document.activeElement;
  const isTyped = [...part.querySelectorAll("textarea")].some((area) => area.value !== area.defaultValue);
  return isSelected || isTyped || (part.contains(active) && active.matches("textarea"));
}

function keepOpen(part, fresh) {
  for (const details of part.querySelectorAll("details[open]")) {
    const same = fresh.querySelector(`details[id="${CSS.escape(details.id)}"]`);
    if (same) same.open = true;
  }
}

function replace(part, fresh) {
  const focused = part.contains(document.activeElement) && document.activeElement.id;
  const scrolled = [...part.querySelectorAll("pre[id]")].map((pre) => [pre.id, pre.scrollTop]);
  part.replaceWith(fresh);
  for (const [id, top] of scrolled) {
    const pre = document.getElementById(id);
    if (pre) pre.scrollTop = top;
  }
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function renew(next) {
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
  wait();
}

function failed() {
  document.getElementById("offline").hidden = false;
  pause = Math.min(2 * pause, LONGEST_PAUSE);
  wait();
}

function look() {
  if (document.hidden) return wait();
  const request = new XMLHttpRequest();
  request.open("GET", document.documentElement.dataset.refresh);
  request.responseType = "document";
  request.timeout = LONGEST_PAUSE;
  request.onload = () => came(request);
  request.onerror = request.ontimeout = failed;
  request.send();
}

function wait() {
  if (document.documentElement.dataset.refresh) setTimeout(look, pause);
}

// The session's cookie is valid only below its door, and a bookmark of a page at the root does not hold the door. Local
// storage belongs to this port alone, unlike a cookie, so no other server sees the door that is kept there.
function findDoor() {
  const here = location.pathname.match(/^\/at\/[0-9a-f]{32}(?=\/)/)?.[0];
  const isLogin = document.getElementById("token") !== null;
  const known = localStorage.getItem("door");
  if (here && !isLogin) localStorage.setItem("door", here);
  else if (here && here === known) localStorage.removeItem("door");
  else if (!here && isLogin && known && location.pathname !== "/login") {
    location.replace(known + location.pathname + location.search);
  }
}

findDoor();
wait();
