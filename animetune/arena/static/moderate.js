// The moderator's page: excludes voters and takes them back. All else on it is there without a script.

import { post } from "./server.js";

for (const button of document.querySelectorAll("button[data-voter]")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await post("/api/voters", { voter: button.dataset.voter, excluded: button.dataset.excluded === "false" });
      location.reload();
    } catch (error) {
      document.getElementById("said").textContent = error.message;
      button.disabled = false;
    }
  });
}

const invitation = document.getElementById("invitation");
if (invitation) {
  const link = new URL(invitation.dataset.path, location.href).href;
  invitation.textContent = link;
  document.getElementById("copy").addEventListener("click", async (event) => {
    try {
      await navigator.clipboard.writeText(link);
      event.target.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(invitation);
    }
  });
}
