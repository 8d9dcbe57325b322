(() => {
  const tip = document.body.appendChild(document.createElement("div"));
  tip.className = "tip"; tip.hidden = true;
  const hide = () => { tip.hidden = true; };
  for (const mark of document.querySelectorAll("a.mark")) {
    const title = mark.querySelector("title"), words = title.textContent;
    title.remove();
    const show = () => {
      tip.textContent = words; tip.hidden = false;
      const at = mark.querySelector(".area").getBoundingClientRect(), width = tip.offsetWidth;
      const left = Math.max(8, Math.min(at.left + at.width / 2 - width / 2, innerWidth - width - 24));
      tip.style.left = left + scrollX + "px";
      tip.style.top = at.top + scrollY - tip.offsetHeight - 4 + "px";
    };
    mark.addEventListener("pointerenter", show); mark.addEventListener("focus", show);
    mark.addEventListener("pointerleave", hide); mark.addEventListener("blur", hide);
  }
  const go = () => {
    hide();
    const target = document.getElementById(location.hash.slice(1)), box = target && target.querySelector("details");
    if (box && target.classList.contains("trial")) { box.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", go); go();
  const all = document.getElementById("all");
  all.hidden = false;
  all.addEventListener("click", () => {
    const open = all.getAttribute("aria-pressed") !== "true";
    for (const box of document.querySelectorAll(".trial > details")) box.open = open;
    all.setAttribute("aria-pressed", open); all.textContent = open ? "Close all" : "Open all";
  });
})();
