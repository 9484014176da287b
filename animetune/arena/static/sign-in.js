// Gives the token of the form, or that of the link, for the cookie that opens the moderator's page.

import { post } from "./server.js";

const find = (id) => document.getElementById(id);

async function open(token) {
  find("said").textContent = "";
  try {
    await post("/api/moderate", { token });
    location.reload();
  } catch (error) {
    find("said").textContent = error.message;
    find("token").focus();
  }
}

find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  open(find("token").value);
});

function takeLink() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token"); // behind #, where no log and no proxy sees it
  if (given === null) return;
  history.replaceState(null, "", location.pathname);
  open(given);
}

addEventListener("hashchange", takeLink); // the link, pasted where this page is open: nothing is loaded anew
takeLink();
