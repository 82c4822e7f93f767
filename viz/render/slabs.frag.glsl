#version 120
uniform sampler2D u_atlas;
uniform sampler2D u_colours;     // one row a kind: gradient, then below, above, NaN, infinite, nothing
uniform vec2 u_atlas_size;
uniform vec2 u_colours_size;     // entries, rows
uniform vec3 u_ink;
uniform vec3 u_accent;
uniform vec3 u_ground;
uniform float u_focus;           // 1 while something is in focus: what is not highlighted steps back
uniform vec2 u_cell;             // cell under the cursor: column, row
uniform float u_sharpness;       // pixels of the frame buffer for a pixel of the picture
varying vec3 v_local;
varying vec3 v_normal;
varying vec4 v_rect;
varying vec4 v_held;
varying vec4 v_scale;
varying vec4 v_style;

const float LAST = 1018.0;       // last entry of the gradient
const float BELOW = 1019.0;
const float ABOVE = 1020.0;
const float NAN = 1021.0;
const float INFINITE = 1022.0;
const float NOTHING = 1023.0;
const float LARGEST_HALF = 1.75e38;   // half of an infinity is more than this, half of any number less
const float SLACK = 1.0e-6;      // interpolation may change the scale's ends in their last bits
const float ABSENT = -1.6180340e38;

float entry_at(vec2 cell) {
    float v = texture2D(u_atlas, (v_rect.xy + cell + 0.5) / u_atlas_size).r;
    if (!(v <= 0.0 || v >= 0.0)) return NAN;
    if (0.5 * abs(v) > LARGEST_HALF) return INFINITE;
    if (abs(v - ABSENT) < 1.0e32) return NOTHING;
    float slack = SLACK * (v_scale.y - v_scale.x);
    if (v < v_scale.x - slack) return BELOW;
    if (v > v_scale.y + slack) return ABOVE;
    return floor(clamp((v - v_scale.x) / (v_scale.y - v_scale.x), 0.0, 1.0) * LAST + 0.5);
}

bool odd = false;                // whether a cell below the pixel is no number, which no mean may hide
vec3 odd_colour;

vec3 colour_at(vec2 cell) {
    // cells that are not there yet, since they have just come into sight
    if (any(lessThan(cell, v_held.xy - 0.5)) || any(greaterThan(cell, v_held.zw - 0.5))) return u_ground;
    float entry = entry_at(cell);
    vec3 colour = texture2D(u_colours, (vec2(entry, v_scale.z) + 0.5) / u_colours_size).rgb;
    // what is no number is striped as well, so that its colour cannot be taken for a value
    float stripe = step(0.5, fract((gl_FragCoord.x + gl_FragCoord.y) / (7.0 * u_sharpness)));
    if (entry == NAN || entry == INFINITE) {
        colour = mix(colour, u_ink, 0.75 * stripe);
        odd = true;
        odd_colour = colour;
    }
    return colour;
}

// coverage of lines at whole numbers
float lines(float at, float width, float pixel) {
    float d = abs(fract(at - 0.5) - 0.5);
    return 1.0 - smoothstep(width - 0.5 * pixel, width + 0.5 * pixel, d);
}

void main() {
    vec2 cells = v_rect.zw;
    vec2 last = ceil(cells - 0.0001) - 1.0;
    vec2 at = vec2(v_local.x, 1.0 - v_local.y) * cells;
    vec2 cell = clamp(floor(at), vec2(0.0), last);
    vec2 pixel = max(fwidth(at), vec2(1.0e-6));
    vec3 colour;
    if (max(pixel.x, pixel.y) > 2.0) {   // cells much smaller than a pixel: the mean colour of sixteen of those below it
        colour = vec3(0.0);
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) {
                vec2 near = at + (vec2(float(i), float(j)) - 1.5) / 4.0 * pixel;
                colour += colour_at(clamp(floor(near), vec2(0.0), last));
            }
        colour /= 16.0;
    } else if (max(pixel.x, pixel.y) > 1.0) {   // a pixel covers at most nine: four are enough
        colour = vec3(0.0);
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++) {
                vec2 near = at + (vec2(float(i), float(j)) - 0.5) / 2.0 * pixel;
                colour += colour_at(clamp(floor(near), vec2(0.0), last));
            }
        colour /= 4.0;
    } else {
        colour = colour_at(cell);
    }
    if (odd) colour = odd_colour;

    float front = step(0.5, abs(v_normal.z));
    float flank = step(0.5, abs(v_normal.x));
    // the front is not lit: its colours are values, to be read against the legend
    float light = front + flank * 0.83 + step(0.5, abs(v_normal.y)) * (v_normal.y > 0.0 ? 0.95 : 0.74);
    colour *= light;

    // borders of cells fade out as cells become small on the screen
    vec2 plain = smoothstep(vec2(0.34), vec2(0.10), pixel * u_sharpness) * v_scale.w;
    vec2 thin = clamp(vec2(0.022), 0.45 * pixel * u_sharpness, 1.1 * pixel * u_sharpness);
    float border = max(lines(at.x, thin.x, pixel.x) * plain.x * (1.0 - flank),
                       lines(at.y, thin.y, pixel.y) * plain.y * step(abs(v_normal.y), 0.5));
    colour = mix(colour, u_ink, border * 0.26);

    // outline of the box, in pixels of the picture
    vec3 edge = min(v_local, 1.0 - v_local) / max(fwidth(v_local), vec3(1.0e-6)) + 1000.0 * abs(v_normal);
    float near_edge = min(edge.x, min(edge.y, edge.z)) / u_sharpness;
    vec2 span = 1.0 / (max(fwidth(v_local.xy), vec2(1.0e-6)) * u_sharpness);
    // or a face of few pixels would be all outline
    vec3 wide = 1.0 / (max(fwidth(v_local), vec3(1.0e-6)) * u_sharpness) + 1000.0 * abs(v_normal);
    float drawn = 0.5 * smoothstep(1.5, 8.0, min(wide.x, min(wide.y, wide.z)));
    colour = mix(colour, u_ink, (1.0 - smoothstep(0.35, 1.15, near_edge)) * drawn);

    // marked rows are framed, a highlighted box glows at its rim, which is thinner where the box is small
    float glow = clamp(0.06 * min(span.x, span.y), 1.4, 2.1) * mix(1.0, 9.0, 1.0 - front);
    if (v_style.y > v_style.x) {
        vec2 to_row = abs(at.y - v_style.xy) / (pixel.y * u_sharpness);
        float inside = step(v_style.x, at.y) * step(at.y, v_style.y);
        float rim = 1.0 - smoothstep(1.2, 2.0, min(min(to_row.x, to_row.y), near_edge));
        colour = mix(colour, u_accent, rim * inside * step(abs(v_normal.y), 0.5));
    }
    if (v_style.w > 0.5) {
        vec2 to_cell = abs(at - u_cell - 0.5) - 0.5;
        float to_rim = abs(max(to_cell.x / pixel.x, to_cell.y / pixel.y)) / u_sharpness;
        colour = mix(colour, u_accent, (1.0 - smoothstep(1.0, 1.9, to_rim)) * front);
    }
    colour = mix(colour, u_accent, v_style.z * (1.0 - smoothstep(glow - 0.5, glow + 0.5, near_edge)));
    colour = mix(colour, u_ground, 0.4 * u_focus * (1.0 - v_style.z));
    gl_FragColor = vec4(colour, 1.0);
}
