// Finds the way back to a session's pages.
"use strict";

// The session's cookie is valid only below its door, and a bookmark of a page at the root does not hold the door. Local
// storage belongs to this port alone, unlike a cookie, so no other server sees the door that is kept there.
const door = location.pathname.match(/^(.*)\/at\/[0-9a-f]{32}(?=\/)/);
const login = document.querySelector('form[action$="/login"]');
// Where the page is mounted: several projects may share a port, each below its own path and with its own door.
const prefix = door ? door[1] : (login?.getAttribute("action").slice(0, -"/login".length) ?? "");
const key = `door${prefix}`;

function findDoor() {
  const here = door?.[0];
  const isLogin = login !== null;
  const known = localStorage.getItem(key);
  const path = location.pathname.slice(prefix.length);
  if (here && !isLogin) localStorage.setItem(key, here);
  else if (here && here === known) localStorage.removeItem(key);
  else if (!here && isLogin && known && path !== "/login") {
    location.replace(known + path + location.search);
  } else if (!here && isLogin && known && location.search.includes("ticket=")) {
    // A link that was used logs nobody in. A session that lives need not log in.
    location.replace(known + document.querySelector("input[name=next]").value);
  }
}

document.querySelector('form[action$="/logout"]')?.addEventListener("submit", () => localStorage.removeItem(key));
findDoor();
