// Finds the way back to a session's pages.
"use strict";

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
  } else if (!here && isLogin && known && location.search.includes("ticket=")) {
    // A link that was used logs nobody in. A session that lives need not log in.
    location.replace(known + document.querySelector("input[name=next]").value);
  }
}

document.querySelector('form[action$="/logout"]')?.addEventListener("submit", () => localStorage.removeItem("door"));
findDoor();
