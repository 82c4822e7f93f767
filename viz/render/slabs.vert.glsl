#version 120
// A tensor is a box: 24 vertices, all with the box's own attributes. Floats only: GL 2.1 has nothing else everywhere.
uniform mat4 u_matrix;
attribute vec3 a_position;   // in the world
attribute vec3 a_local;      // 0..1 within the box
attribute vec3 a_normal;
attribute vec4 a_rect;       // cells in the atlas: left, top, columns, rows
attribute vec4 a_held;       // cells that the atlas has: first column, first row, and where they end
attribute vec4 a_scale;      // low, high, row of the colour table, thickness of cell borders (0 or 1)
attribute vec4 a_style;      // marked rows from, to (in cells), highlight 0..1, whether u_cell is in this box
varying vec3 v_local;
varying vec3 v_normal;
varying vec4 v_rect;
varying vec4 v_held;
varying vec4 v_scale;
varying vec4 v_style;

void main() {
    v_local = a_local;
    v_normal = a_normal;
    v_rect = a_rect;
    v_held = a_held;
    v_scale = a_scale;
    v_style = a_style;
    gl_Position = u_matrix * vec4(a_position, 1.0);
}
