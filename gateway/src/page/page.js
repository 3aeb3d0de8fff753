"use strict";
// Takes the page anew and changes here what has changed there: the server alone says what things are called.
(() => {
  const EVERY = 2000, AGAIN = 500, PATIENCE = 5000;
  const release = document.documentElement.dataset.release;
  let failures = 0, heard = new Date(), asking = false, timer;

  function change(here, there) {
    if (here.isEqualNode(there)) return;
    if (here.nodeName !== there.nodeName) { here.replaceWith(document.importNode(there, true)); return; }
    if (here.nodeType !== Node.ELEMENT_NODE) { here.nodeValue = there.nodeValue; return; }
    for (const { name } of [...here.attributes]) if (!there.hasAttribute(name)) here.removeAttribute(name);
    for (const { name, value } of there.attributes) if (here.getAttribute(name) !== value) here.setAttribute(name, value);
    while (here.childNodes.length > there.childNodes.length) here.lastChild.remove();
    [...there.childNodes].forEach((child, place) => {
      if (place < here.childNodes.length) change(here.childNodes[place], child);
      else here.append(document.importNode(child, true));
    });
  }

  function show(page) {
    if (page.documentElement.dataset.release !== release) { location.reload(); return; }
    failures = 0;
    heard = new Date();
    document.body.classList.remove("lost");
    document.getElementById("lost").hidden = true;
    change(document.querySelector("main"), page.querySelector("main"));
    document.title = page.title;
  }

  // One that fails may be a connection that has just ended; the second one says it.
  function fail() {
    failures += 1;
    if (failures < 2 || document.body.classList.contains("lost")) return;
    const time = document.querySelector("#lost time");
    time.dateTime = heard.toISOString();
    time.textContent = heard.toLocaleTimeString(document.documentElement.lang);
    document.body.classList.add("lost");
    document.getElementById("lost").hidden = false;
    document.title = "✗ " + document.title;
  }

  function ask() {
    clearTimeout(timer);
    if (asking) return;
    asking = true;
    const request = new XMLHttpRequest();
    request.responseType = "document";
    request.timeout = PATIENCE;
    request.onloadend = () => {
      const page = request.status === 200 ? request.response : null;
      if (page && page.querySelector("main")) show(page); else fail();
      asking = false;
      if (!document.hidden) timer = setTimeout(ask, failures === 1 ? AGAIN : EVERY);
    };
    request.open("GET", location.href);
    request.send();
  }

  // What nobody sees is not asked for.
  document.addEventListener("visibilitychange", () => { if (document.hidden) clearTimeout(timer); else ask(); });
  timer = setTimeout(ask, EVERY);
})();
