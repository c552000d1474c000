// The panel: every control of the page.

import GUI from "three/addons/libs/lil-gui.module.min.js";

// Windows of telephones are narrower, in CSS pixels; page.html holds the same number.
export const NARROW = 700;

/** Builds the panel; returns an object with `update()`, which shows changed values. */
export function makePanel(page) {
  const { stage, state, path } = page;
  const isNarrow = innerWidth < NARROW;
  const gui = new GUI({ title: "Controls", container: document.getElementById("panel") });

  const camera = gui.addFolder("Camera");
  camera.add(state, "controls", ["orbit", "fly", "walk"]).onChange(page.setMode);
  camera.add(state, "up", ["-y", "y", "z", "-z"]).name("up axis").onChange((up) => stage.setUp(up));
  camera.add(page, "reset").name("reset view");
  if (page.scene.trajectories.length) {
    const names = page.scene.trajectories.map(({ name }, index) => [`path ${name}`, index]);
    camera.add(state, "trajectory", Object.fromEntries(names)).name("camera path");
    camera.add(page, "playTrajectory").name("play camera path");
    camera.add(state, "frustums").name("show cameras").onChange(() => stage.touch());
  }
  if (Object.keys(page.scene.pictures).length)
    camera.add(state, "compare", 0, 1, 0.01).name("compare with clip").onChange(page.compare);

  if (page.scene.moments.length > 1) {
    const time = gui.addFolder("Time");
    const last = page.scene.moments.length - 1;
    time.add(state, "time", 0, last, 1).name("moment").onChange(page.setTime);
    time.add(state, "playing").name("play").onChange(page.playTime);
    time.add(state, "loop");
    time.add(state, "speed", 0.1, 4, 0.1);
  }

  const keys = gui.addFolder("Key frames");
  const key = keys.add(state, "key", 0, 0, 1).name("number").onChange(page.showKey);
  keys.add(page, "addKey").name("add this view");
  keys.add(page, "moveKey").name("move to this view");
  keys.add(page, "deleteKey").name("delete");
  keys.add(page, "playPath").name("play path");
  keys.add(page, "savePath").name("save as JSON");
  keys.add(page, "openPath").name("load JSON");
  if (isNarrow) keys.close();

  const look = gui.addFolder("Look").close();
  look.addColor(state, "background").onChange((color) => stage.setBackground(color));
  look.add(state, "opacity", 0, 0.5, 0.005).name("least opacity").onChange(page.setOpacity);
  look.add(state, "crop").onChange(page.setBox);
  const [low, high] = page.scene.bounds;
  for (const [k, axis] of ["x", "y", "z"].entries()) {
    look.add(state.box, k, low[k], high[k]).name(`${axis} from`).onChange(page.setBox);
    look.add(state.box, k + 3, low[k], high[k]).name(`${axis} to`).onChange(page.setBox);
  }

  const picture = gui.addFolder("Picture").close();
  const { largest } = stage.screen;
  picture.add(state, "width", 16, largest, 1);
  picture.add(state, "height", 16, largest, 1);
  picture.add(page, "screenshot").name("save as PNG");

  if (isNarrow) gui.close();
  return {
    isClosed: () => gui._closed,
    update() {
      const count = path.keys.length;
      key.max(Math.max(0, count - 1));
      keys.title(`Key frames (${count})`);
      gui.controllersRecursive().forEach((controller) => controller.updateDisplay());
    },
  };
}
